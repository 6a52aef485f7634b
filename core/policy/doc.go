// Package policy decides connections: it compiles a Spec into an immutable Table, in which a
// look-up costs the same for ten rules as for a hundred thousand, and explains its decisions.
// It has no knowledge of packets, sessions or stores.
package policy
