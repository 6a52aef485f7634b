// Package archtest holds the project's shape as tests: which folder may import
// which, how large files and functions may grow, that packages say what they are for, and that
// nothing happens in an init function. It has no code of its own.
package archtest
