package render

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaPath = "../../docs/export.schema.json"

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	schema, err := c.Compile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, line string) error {
	t.Helper()
	record, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(record)
}

// TestSchemaGolden validates each record of the golden export.
func TestSchemaGolden(t *testing.T) {
	schema := compileSchema(t)
	file, err := os.ReadFile("testdata/export.golden")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for line := range strings.Lines(string(file)) {
		if err := validate(t, schema, line); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
		var record struct{ Type string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		types[record.Type] = true
	}
	if diff := cmp.Diff([]string{"event", "lookup", "start", "stats"}, slices.Sorted(maps.Keys(types))); diff != "" {
		t.Errorf("record types of the golden export (-want +got):\n%s", diff)
	}
}

// TestSchemaRefuses holds that the schema has teeth, and takes what may be added.
func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	var b bytes.Buffer
	if err := WriteJSON(&b, sampleContext().View(answered())); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	if err := WriteJSON(&b, sampleContext().View(storySamples()[1])); err != nil {
		t.Fatal(err)
	}
	tied := b.String()[len(good):]
	tests := []struct {
		name, old, new string
		valid          bool
	}{
		{"as it is", "", "", true},
		{"field added", `"dns_id":`, `"added":{"a":[1]},"dns_id":`, true},
		{"field added to a hop", `"len":60`, `"len":60,"added":"x"`, true},
		{"hop of a new name", `"hop":"tx"`, `"hop":"xdp"`, true},
		{"unknown record", `"type":"lookup"`, `"type":"packet"`, false},
		{"other version", `"schema":1`, `"schema":2`, false},
		{"outcome unknown", `"outcome":"answered"`, `"outcome":"fine"`, false},
		{"no outcome", `"outcome":"answered",`, ``, false},
		{"number as text", `"dns_id":4711`, `"dns_id":"4711"`, false},
		{"number too large", `"dns_id":4711`, `"dns_id":65536`, false},
		{"negative time", `"t_ns":0`, `"t_ns":-1`, false},
		{"empty text", `"dev":"eth0"`, `"dev":""`, false},
		{"no address", `"addr":"10.96.0.10"`, `"addr":""`, false},
		{"address without a port", `"src":"10.244.1.10:41522"`, `"src":"10.244.1.10"`, false},
		{"time that is none", `"time":"2026-11-21T10:31:03.114203Z"`, `"time":"yesterday"`, false},
		{"null for a list", `"findings":[]`, `"findings":null`, false},
		{"link of a new kind", `"kind":"child"`, `"kind":"cousin"`, true},
		{"link known otherwise", `"how":"seen"`, `"how":"guessed"`, false},
		{"link to nowhere", `"how":"seen","id":"`, `"how":"seen","id":"0`, false},
		{"unknown hook", `"hook":"PREROUTING"`, `"hook":"INGRESS"`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			good := good
			if strings.HasPrefix(tt.name, "link") {
				good = tied
			}
			line := strings.Replace(good, tt.old, tt.new, 1)
			if (line == good) != (tt.old == "") {
				t.Fatalf("no %s in %s", tt.old, good)
			}
			if err := validate(t, schema, line); (err == nil) != tt.valid {
				t.Errorf("error %v, want it to be valid: %t", err, tt.valid)
			}
		})
	}
}

// TestSchemaFields holds that the schema and the records have the same fields.
func TestSchemaFields(t *testing.T) {
	file, err := os.ReadFile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	var s schemaFile
	if err := json.Unmarshal(file, &s); err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string]any{"start": Start{}, "lookup": Record{}, "event": EventRecord{}, "stats": StatsRecord{}, "analysis": Analysis{}} {
		t.Run(name, func(t *testing.T) { s.compare(t, name, s.Defs[name], reflect.TypeOf(record)) })
	}
}

type schemaFile struct {
	Defs map[string]*schemaNode `json:"$defs"`
}

type schemaNode struct {
	Ref        string                 `json:"$ref"`
	Properties map[string]*schemaNode `json:"properties"`
	Required   []string               `json:"required"`
	Items      *schemaNode            `json:"items"`

	compared []reflect.Type
}

// compare reports fields that the schema lacks, or has too much, or requires
// although they may be absent, in a type and all that it holds.
func (s *schemaFile) compare(t *testing.T, path string, node *schemaNode, typ reflect.Type) {
	t.Helper()
	for node.Ref != "" {
		node = s.Defs[strings.TrimPrefix(node.Ref, "#/$defs/")]
	}
	switch typ.Kind() {
	case reflect.Pointer:
		s.compare(t, path, node, typ.Elem())
		return
	case reflect.Slice:
		if node.Items != nil {
			s.compare(t, path+"[]", node.Items, typ.Elem())
		}
		return
	case reflect.Struct:
	default:
		return
	}
	if slices.Contains(node.compared, typ) { // a tunnel may be in another one
		return
	}
	node.compared = append(node.compared, typ)
	if typ.NumField() == 0 || node.Properties == nil { // findings, which are not made yet; addresses and times
		return
	}
	fields := map[string]reflect.Type{}
	required := collectFields(typ, fields)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(node.Properties))); diff != "" {
		t.Errorf("%s: fields (-record +schema):\n%s", path, diff)
	}
	slices.Sort(required)
	if diff := cmp.Diff(required, slices.Sorted(slices.Values(node.Required))); diff != "" {
		t.Errorf("%s: fields that are always there (-record +schema):\n%s", path, diff)
	}
	for name, field := range fields {
		if property := node.Properties[name]; property != nil {
			s.compare(t, path+"."+name, property, field)
		}
	}
}

// collectFields fills in the JSON fields of typ, and returns those that are always written.
func collectFields(typ reflect.Type, fields map[string]reflect.Type) (required []string) {
	for f := range typ.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			required = append(required, collectFields(embedded, fields)...)
		case name != "-" && name != "":
			fields[name] = f.Type
			if !strings.Contains(options, "omit") { // omitempty, omitzero
				required = append(required, name)
			}
		}
	}
	return required
}
