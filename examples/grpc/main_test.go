package main

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/keyfoldtest"
)

func TestCallsNeedAGoodKey(t *testing.T) {
	svc := keyfoldtest.New(t, nil)
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server(svc)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	client := grpc_health_v1.NewHealthClient(conn)

	_, good := keyfoldtest.NewKey(t, svc, keyfold.NewKey{Scopes: []string{"health:read"}})
	_, other := keyfoldtest.NewKey(t, svc, keyfold.NewKey{Scopes: []string{"other:read"}})
	for _, row := range []struct {
		name, token string
		want        codes.Code
		watch       codes.Code
	}{
		{"a good key", good, codes.OK, codes.OK},
		{"a key without the scope", other, codes.PermissionDenied, codes.OK},
		{"a mistyped key", good + "x", codes.Unauthenticated, codes.Unauthenticated},
		{"no key", "", codes.Unauthenticated, codes.Unauthenticated},
	} {
		ctx := t.Context()
		if row.token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+row.token)
		}
		if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != row.want {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
		if err := watch(ctx, client); status.Code(err) != row.watch {
			t.Errorf("%s, as a stream: got %v, want %v", row.name, err, row.watch)
		}
	}
}

func watch(ctx context.Context, client grpc_health_v1.HealthClient) error {
	stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func TestIdentityIsInTheContext(t *testing.T) {
	svc := keyfoldtest.New(t, nil)
	key, token := keyfoldtest.NewKey(t, svc, keyfold.NewKey{})
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token))
	_, err := keyGuard{svc: svc}.unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/reports.Reports/Get"}, func(ctx context.Context, _ any) (any, error) {
		if id := identityFrom(ctx); id.KeyID() != key.ID {
			t.Errorf("got %v, want %s", id, key.ID)
		}
		return nil, nil
	})
	if err != nil {
		t.Error(err)
	}
}
