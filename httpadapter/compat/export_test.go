package compat

// The parsers, for the fuzz tests.
var (
	ParseDate  = parseDate
	FormatDate = formatDate
	ParseBool  = parseBool
	KeysOf     = keysOf
)
