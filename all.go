package keyfold

import (
	"context"
	"iter"
)

// AllKeys yields every key that matches, in the order of [Service.Keys], which it
// reads page by page: q.Limit is the length of a page, 200 by default, and q.Cursor
// is where to start. After an error, which comes with the zero Key, it ends. Errors
// are those of Service.Keys.
func (s *Service) AllKeys(ctx context.Context, q KeyQuery) iter.Seq2[Key, error] {
	return everyPage(q.Cursor, func(cursor string) ([]Key, string, error) {
		q.Cursor, q.Limit = cursor, pageLength(q.Limit)
		page, err := s.Keys(ctx, q)
		return page.Keys, page.Next, err
	})
}

// AllUsers yields every user that matches, as [Service.AllKeys] does keys.
func (s *Service) AllUsers(ctx context.Context, q UserQuery) iter.Seq2[User, error] {
	return everyPage(q.Cursor, func(cursor string) ([]User, string, error) {
		q.Cursor, q.Limit = cursor, pageLength(q.Limit)
		page, err := s.Users(ctx, q)
		return page.Users, page.Next, err
	})
}

// AllUsage yields every usage event that matches, as [Service.AllKeys] does keys.
// Where q.To is zero, events that are written meanwhile are not among them.
func (s *Service) AllUsage(ctx context.Context, q UsageQuery) iter.Seq2[UsageEvent, error] {
	return everyPage(q.Cursor, func(cursor string) ([]UsageEvent, string, error) {
		q.Cursor, q.Limit = cursor, pageLength(q.Limit)
		page, err := s.Usage(ctx, q)
		return page.Events, page.Next, err
	})
}

// AllAudit yields every entry of the audit log that matches, as [Service.AllKeys]
// does keys.
func (s *Service) AllAudit(ctx context.Context, q AuditQuery) iter.Seq2[AuditEntry, error] {
	return everyPage(q.Cursor, func(cursor string) ([]AuditEntry, string, error) {
		q.Cursor, q.Limit = cursor, pageLength(q.Limit)
		page, err := s.Audit(ctx, q)
		return page.Entries, page.Next, err
	})
}

// pageLength is the limit of the query, or the longest page there is.
func pageLength(limit int) int {
	if limit == 0 {
		return maxPage
	}
	return limit
}

// everyPage yields what the pages hold, from a cursor on.
func everyPage[T any](cursor string, page func(cursor string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for at := cursor; ; {
			items, next, err := page(at)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			at = next
		}
	}
}
