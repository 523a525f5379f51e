// Package usagequery has the query parameters that the usage routes share. It is a
// package because huma ignores embedded structs whose type is not exported.
package usagequery

// Filter selects usage events.
type Filter struct {
	KeyID   string   `query:"key_id" doc:"Only this key."`
	OwnerID string   `query:"owner_id" doc:"Only keys of this owner that still exist. It excludes key_id."`
	UserID  string   `query:"user_id" doc:"Only keys of this user that still exist. It excludes key_id and owner_id."`
	From    string   `query:"from" format:"date-time" doc:"The start of the period, inclusive. The default is 24 hours before its end, or 30 days in a report by day."`
	To      string   `query:"to" format:"date-time" doc:"The end of the period, exclusive. The default is now."`
	Outcome []string `query:"outcome,explode" enum:"allowed,missing,malformed,unknown,wrong_secret,revoked,disabled,expired,idle,user_disabled,scope,ip,rate_limited,credits,unavailable" doc:"Only requests with one of these outcomes. Repeat the parameter for several outcomes. The default is all outcomes."`
}
