package capture

import (
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/dnspath/dnspath/internal/render"
)

// free are the fields that hold any bytes: package render escapes them.
var free = []string{
	"Record.Name", "Record.Detail", "Record.Defect", "Record.Why", "Client.NetNSName", "Client.Pod", "Client.Process",
	"Hop.Dev", "Hop.NetNSName", "Hop.Process", "Hop.Node", "Wire.From", "Wire.To", "By.Name", "By.Rule",
}

// Clean makes a record of a file safe to be shown as text. Fields in which
// dnspath itself writes nothing but plain words are shown as they are: what a
// terminal might obey becomes U+FFFD there.
func Clean(r *render.Record) {
	clean(reflect.ValueOf(r).Elem())
}

func clean(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() && strings.ContainsFunc(v.String(), unsafe) {
			v.SetString(strings.Map(func(r rune) rune {
				if unsafe(r) {
					return unicode.ReplacementChar
				}
				return r
			}, v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			clean(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			clean(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.IsExported() && !slices.Contains(free, v.Type().Name()+"."+f.Name) {
				clean(v.Field(i))
			}
		}
	}
}

// unsafe reports whether dnspath never writes r in such a field, but for the
// escape that says so.
func unsafe(r rune) bool { return (r < ' ' || r > '~') && r != unicode.ReplacementChar }
