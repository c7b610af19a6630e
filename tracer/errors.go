package tracer

import "errors"

// ErrMalformed is wrapped by the errors of Decoder.Decode.
var ErrMalformed = errors.New("malformed record")

// ErrPattern is wrapped by the errors of NewFilter: a name pattern or query
// type that means nothing.
var ErrPattern = errors.New("unusable pattern")
