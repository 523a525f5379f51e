package usageblock

import "cmp"

// Page collects the newest events of several blocks.
type Page struct {
	limit  int
	events []Event // newest first, each position once
	found  []Event // scratch
	merged []Event
}

// NewPage returns an empty page of at most limit events.
func NewPage(limit int) *Page { return &Page{limit: limit} }

// Events returns the events, newest first.
func (p *Page) Events() []Event { return p.events }

// Full reports whether the page has as many events as it may have.
func (p *Page) Full() bool { return len(p.events) >= p.limit }

// Complete reports whether a block that ends at that time, and all that end before
// it, have no event for the page.
func (p *Page) Complete(last int64) bool {
	return p.Full() && (p.limit == 0 || last < p.events[len(p.events)-1].At)
}

// Add adds the events of a block that the query asks for. Of events with the same
// position, which are the same event in two blocks, it keeps one. After an error the
// page is as it was before.
func (p *Page) Add(b *Block, q *Query) error {
	found, err := b.Select(p.found[:0], q)
	p.found = found
	if err != nil || len(found) == 0 {
		return err
	}
	old, merged := p.events, p.merged[:0]
	for len(merged) < p.limit && len(old)+len(found) > 0 {
		order := -1
		switch {
		case len(old) == 0:
			order = 1
		case len(found) > 0:
			order = cmp.Or(cmp.Compare(found[0].At, old[0].At), cmp.Compare(found[0].Seq, old[0].Seq))
		}
		if order > 0 {
			merged, found = append(merged, found[0]), found[1:]
			continue
		}
		merged, old = append(merged, old[0]), old[1:]
		if order == 0 {
			found = found[1:]
		}
	}
	p.events, p.merged = merged, p.events
	return nil
}
