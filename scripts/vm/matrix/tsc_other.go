//go:build !amd64

package main

// hostTSC is for guests, which there are on amd64 alone.
func hostTSC() uint64 { return 0 }
