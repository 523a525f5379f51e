package httpadapter

import (
	"context"
	"errors"

	"github.com/keyfold/keyfold"
)

// The gRPC status codes for the errors of Keyfold,
// see https://grpc.io/docs/guides/status-codes/.
const (
	grpcOK                 = 0
	grpcCanceled           = 1
	grpcInvalidArgument    = 3
	grpcDeadlineExceeded   = 4
	grpcNotFound           = 5
	grpcPermissionDenied   = 7
	grpcResourceExhausted  = 8
	grpcFailedPrecondition = 9
	grpcAborted            = 10
	grpcInternal           = 13
	grpcUnavailable        = 14
	grpcUnauthenticated    = 16
)

// GRPCCode returns the gRPC status code for an error of this module. Use it as
// codes.Code(httpadapter.GRPCCode(err)); this package does not import gRPC.
//
//	nil                          0  OK
//	context.Canceled             1  CANCELLED, if the caller's own context was cancelled
//	context.DeadlineExceeded     4  DEADLINE_EXCEEDED, if its deadline passed
//	keyfold.ErrUnauthenticated   16 UNAUTHENTICATED
//	keyfold.ErrForbidden         7  PERMISSION_DENIED
//	keyfold.ErrRateLimited       8  RESOURCE_EXHAUSTED
//	keyfold.ErrUnavailable       14 UNAVAILABLE; also ErrRetry and ErrClosed
//	keyfold.ErrInvalid           3  INVALID_ARGUMENT; also ErrAmbiguous
//	keyfold.ErrNotFound          5  NOT_FOUND
//	keyfold.ErrConflict          9  FAILED_PRECONDITION
//	keyfold.ErrStale             10 ABORTED
//	any other error              13 INTERNAL
//
// As the message, send the title and the detail of [ProblemOf]. Do not send the text of
// the error, because it may come from the database.
func GRPCCode(err error) uint32 {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return grpcOK
	case is(keyfold.ErrUnauthenticated):
		return grpcUnauthenticated
	case is(keyfold.ErrForbidden):
		return grpcPermissionDenied
	case is(keyfold.ErrRateLimited) && !is(keyfold.ErrUnavailable):
		return grpcResourceExhausted
	case is(keyfold.ErrUnavailable, keyfold.ErrRetry, keyfold.ErrClosed):
		return grpcUnavailable
	case is(context.Canceled):
		return grpcCanceled
	case is(context.DeadlineExceeded):
		return grpcDeadlineExceeded
	case is(keyfold.ErrInvalid, ErrAmbiguous):
		return grpcInvalidArgument
	case is(keyfold.ErrNotFound):
		return grpcNotFound
	case is(keyfold.ErrConflict):
		return grpcFailedPrecondition
	case is(keyfold.ErrStale):
		return grpcAborted
	}
	return grpcInternal
}
