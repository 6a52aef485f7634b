package workload

// LoadFile reads and parses a workloads file.
func LoadFile(file string) ([]Description, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	return parseFile(file, data)
}
