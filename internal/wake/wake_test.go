package wake

import "testing"

func TestManySignalsAreOne(t *testing.T) {
	t.Parallel()
	s := New()
	s.Send()
	s.Send()
	<-s
	select {
	case <-s:
		t.Error("there is a second token")
	default:
	}
}
