// Package capture reads exports of one or many nodes and puts together what
// they tell of the same lookup.
//
// Read makes an index of the files; Join finds which packets left one node and
// came to another, and by how much the nodes' clocks differ; Each makes a
// record of each lookup, reading the files once more. Only the index is held
// in memory. Nothing here has a clock or starts a goroutine, and what is in a
// file is taken for hostile.
package capture
