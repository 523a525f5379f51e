package postgres

import (
	"bytes"
	"database/sql/driver"
	"encoding/hex"
	"errors"

	"github.com/jackc/pgx/v5/pgtype"
)

// byteaCodec reads both text forms of a bytea. pgx reads only hex. The server sends the
// form of bytea_output, which it does not report and which a pooler may refuse to set.
// See https://www.postgresql.org/docs/current/datatype-binary.html.
type byteaCodec struct{ pgtype.ByteaCodec }

// readBothForms registers the codec, unless the program has registered its own.
func readBothForms(m *pgtype.Map) {
	bytea, ok := m.TypeForOID(pgtype.ByteaOID)
	if !ok {
		return
	}
	if _, ok := bytea.Codec.(pgtype.ByteaCodec); ok {
		m.RegisterType(&pgtype.Type{Name: bytea.Name, OID: bytea.OID, Codec: byteaCodec{}})
	}
}

// PlanScan implements [pgtype.Codec].
func (c byteaCodec) PlanScan(m *pgtype.Map, oid uint32, format int16, target any) pgtype.ScanPlan {
	plan := c.ByteaCodec.PlanScan(m, oid, format, target)
	if plan == nil || format != pgtype.TextFormatCode {
		return plan
	}
	return byteaPlan{plan}
}

type byteaPlan struct{ hex pgtype.ScanPlan }

// Scan implements [pgtype.ScanPlan].
func (p byteaPlan) Scan(src []byte, target any) error {
	src, err := byteaHex(src)
	if err != nil {
		return err
	}
	return p.hex.Scan(src, target)
}

// DecodeDatabaseSQLValue implements [pgtype.Codec].
func (c byteaCodec) DecodeDatabaseSQLValue(m *pgtype.Map, oid uint32, format int16, src []byte) (driver.Value, error) {
	return c.DecodeValue(m, oid, format, src)
}

// DecodeValue implements [pgtype.Codec].
func (c byteaCodec) DecodeValue(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	if format == pgtype.TextFormatCode {
		var err error
		if src, err = byteaHex(src); err != nil {
			return nil, err
		}
	}
	return c.ByteaCodec.DecodeValue(m, oid, format, src)
}

var errBytea = errors.New("a bytea must be in the hex or the escape format")

// byteaHex converts either text form to the hex form. The escape form never begins with
// the prefix of the hex form, because it doubles backslashes.
func byteaHex(src []byte) ([]byte, error) {
	if src == nil || bytes.HasPrefix(src, []byte(`\x`)) {
		return src, nil
	}
	plain := make([]byte, 0, len(src))
	for len(src) > 0 {
		switch {
		case src[0] != '\\':
			plain, src = append(plain, src[0]), src[1:]
		case len(src) >= 2 && src[1] == '\\':
			plain, src = append(plain, '\\'), src[2:]
		case len(src) >= 4 && isOctal(src[1:4]) && src[1] <= '3':
			plain, src = append(plain, (src[1]-'0')<<6|(src[2]-'0')<<3|(src[3]-'0')), src[4:]
		default:
			return nil, errBytea
		}
	}
	return hex.AppendEncode([]byte(`\x`), plain), nil
}

func isOctal(digits []byte) bool {
	for _, digit := range digits {
		if digit < '0' || digit > '7' {
			return false
		}
	}
	return true
}
