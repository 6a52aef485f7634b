//go:build !race

package host_test

// slack multiplies bounds of time.
const slack = 1
