package knot

// A and B refer to each other.
type A struct{ b *B }

func (a *A) size() int { return a.b.count + limit }
