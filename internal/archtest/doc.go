// Package archtest holds the project's shape as tests: which folder may import
// which, how large files and functions may grow, that packages have comments, that documents and code are in plain English, and that
// nothing happens in an init function. It has no code of its own.
package archtest
