package afpacket

// Feature is something that this package needs of the machine, as a doctor
// command shows it.
type Feature struct {
	// Name is what is needed.
	Name string
	// OK says that it is there; Err why not.
	OK  bool
	Err error
	// Cost is what does not work without it, Remedy what to do about it.
	Cost, Remedy string
}
