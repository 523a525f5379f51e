package keyfold

import "sync"

// adapterStates is what adapters keep for a Service.
type adapterStates struct {
	mu     sync.Mutex
	states map[any]any
}

// AdapterState returns the state that an adapter keeps for this Service under a
// key, such as the failures that all of its middlewares count together. The first
// call for a key makes the state with create; every later call returns the same
// value. A Service from [Service.With] or [Service.InTx] has the state of the
// Service that it comes from.
//
// AdapterState is for adapters, that is, for packages that put a Service behind
// HTTP, gRPC or a framework. The state lives as long as the Service, so an adapter
// needs no package variable. As with [context.WithValue], the key must be
// comparable, and its type should be an unexported type of the adapter, so that two
// adapters cannot share a key by mistake. The state must be safe for concurrent use.
//
// create runs at most once for a key, and must not call AdapterState.
func (s *Service) AdapterState(key any, create func() any) any {
	s.adapters.mu.Lock()
	defer s.adapters.mu.Unlock()
	state, ok := s.adapters.states[key]
	if !ok {
		if s.adapters.states == nil {
			s.adapters.states = map[any]any{}
		}
		state = create()
		s.adapters.states[key] = state
	}
	return state
}
