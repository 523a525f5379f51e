package knot

type B struct {
	a     *A
	count int
}
