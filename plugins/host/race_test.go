//go:build race

package host_test

// slack multiplies bounds of time: the race detector makes plugins and their host several times slower.
const slack = 5
