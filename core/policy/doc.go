// Package policy decides connections: it compiles a Spec into an immutable Table, in
// which one look-up costs the same for ten rules and for a hundred thousand, and
// explains what it decided. It does not know packets, sessions or stores.
package policy
