// Package gen holds what bpf2go makes of the C in bpf/: the objects, for amd64
// and arm64, and the Go types of the wire contract. Nothing here is written by
// hand but this file; `make generate` makes the rest.
package gen

//go:generate go tool bpf2go -tags linux -target amd64,arm64 -go-package gen -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -Wextra -Wtype-limits -Wframe-larger-than=256 -Werror -Wno-unused-parameter" -type event -type step -type head -type route -type tuple -type probe -type record -type function_flag -type tunnel -type event_flag -type loss Dnspath ../bpf/dnspath.bpf.c
