package capture

import "errors"

// ErrNoExport says that none of the files has a record that could be read.
var ErrNoExport = errors.New("no export to analyze")
