// Grpc guards a gRPC server with API keys. It serves the health service, so that
// there is a method to call.
//
//	go run ./grpc key    # creates a key and prints its token, once
//	go run ./grpc        # serves on localhost:8080
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/sqlite"
)

func main() {
	store, err := sqlite.Open(context.Background(), "keyfold.db")
	if err != nil {
		log.Fatal(err)
	}
	svc, err := keyfold.New(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "key" {
		_, token, err := svc.CreateKey(context.Background(), keyfold.NewKey{Name: "first", Scopes: []string{"health:read"}})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(token.Reveal()) // the only time that it can be seen
		return
	}
	listener, err := net.Listen("tcp", "localhost:8080")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server(svc).Serve(listener))
}

func server(svc *keyfold.Service) *grpc.Server {
	guard := keyGuard{svc, map[string][]string{"/grpc.health.v1.Health/Check": {"health:read"}}}
	s := grpc.NewServer(grpc.UnaryInterceptor(guard.unary), grpc.StreamInterceptor(guard.stream))
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	return s
}

// keyGuard passes on calls that have a valid key.
type keyGuard struct {
	svc    *keyfold.Service
	scopes map[string][]string // by method; other methods need a valid key, and no scope
}

type identityKey struct{}

// identityFrom returns the identity of the key that the call was made with.
func identityFrom(ctx context.Context) keyfold.Identity {
	id, _ := ctx.Value(identityKey{}).(keyfold.Identity)
	return id
}

// verify returns a context that has the Identity of the call, or the status to refuse
// it with.
func (g keyGuard) verify(ctx context.Context, method string) (context.Context, error) {
	var client netip.Addr
	if from, ok := peer.FromContext(ctx); ok {
		client = httpadapter.ClientIP(from.Addr.String(), nil, httpadapter.Proxies{})
	}
	var id keyfold.Identity
	token, err := httpadapter.ExtractToken(func(header string) []string { return metadata.ValueFromIncomingContext(ctx, header) })
	if err == nil {
		id, err = g.svc.Verify(ctx, keyfold.Request{Token: token, Scopes: g.scopes[method], IP: client, Route: method})
		err = httpadapter.LimitFailures(g.svc, client, err)
	}
	if err != nil {
		return nil, status.Error(codes.Code(httpadapter.GRPCCode(err)), httpadapter.ProblemOf(err).Detail)
	}
	return context.WithValue(ctx, identityKey{}, id), nil
}

func (g keyGuard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	ctx, err := g.verify(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func (g keyGuard) stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ctx, err := g.verify(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handle(service, identified{stream, ctx})
}

// identified is a stream whose context has the Identity.
type identified struct {
	grpc.ServerStream
	ctx context.Context
}

func (s identified) Context() context.Context { return s.ctx }
