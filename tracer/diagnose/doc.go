// Package diagnose says why lookups failed: it names the cause, shows the
// evidence, and gives the command that mends it.
//
// Each finding has a file of its own, with a rule: a function that looks at a
// lookup, and at the configuration of the node that it failed on, and returns
// the finding if its evidence holds, else nil. A rule never guesses: a wrong
// cause is worse than none. All rules are asked, so that two causes at once are
// both named; those that mean "nothing here is to blame" are asked last, and
// only if no other has an answer.
//
// The package reads nothing itself. What it needs to know of a node comes
// through the interfaces Node and NetNS, so that rules can be tested with
// tables, and recorded lookups be diagnosed without the node.
package diagnose
