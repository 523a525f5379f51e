package knot

// limit is used by others and refers to none.
const limit = 3

func own() int {
	count := limit // a local variable is not shared with b.go
	return count
}
