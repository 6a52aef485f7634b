package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Description is an entry of a workloads file about one namespace, or all those that a pattern matches.
// The first entry that matches a namespace applies.
//
//	workloads:
//	  - name: web          # shown name; the namespace's own name if left out
//	    netns: shop-web    # namespace name or pattern; name if left out
//	    namespace: shop    # "default" if left out
//	    service: frontend  # service of the group; name if left out
//	    labels: {tier: front}
//	  - netns: "cni-*"
//	    exclude: true      # not a workload
type Description struct {
	Name      string            `yaml:"name"`
	NetNS     string            `yaml:"netns"`
	Namespace string            `yaml:"namespace"`
	Service   string            `yaml:"service"`
	Labels    map[string]string `yaml:"labels"`
	Exclude   bool              `yaml:"exclude"`
}

type entry struct {
	Description `yaml:",inline"`
	line        int
}

// UnmarshalYAML keeps the line of an entry.
func (e *entry) UnmarshalYAML(n *yaml.Node) error {
	e.line = n.Line
	return n.Decode(&e.Description)
}

const fileFields = "name, netns, namespace, service, labels and exclude"

// maxFile bounds a workloads file.
const maxFile = 4 << 20

// readFile reads a workloads file for parseFile. The errors of both name the file and what to do.
func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("workloads file %s: %w: check the path given with --workloads", file, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("workloads file %s: %w", file, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("workloads file %s: larger than 4 MiB: is it the right file?", file)
	}
	return data, nil
}

func parseFile(file string, data []byte) ([]Description, error) {
	if err := checkFields(file, data); err != nil {
		return nil, err
	}
	var doc struct {
		Workloads []entry `yaml:"workloads"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, yamlError(file, err)
	}
	out := make([]Description, 0, len(doc.Workloads))
	seen := map[string]int{}
	for _, e := range doc.Workloads {
		d := e.Description
		if d.NetNS == "" {
			d.NetNS = d.Name
		}
		if err := checkEntry(&d); err != nil {
			return nil, fmt.Errorf("workloads file %s, line %d: %w", file, e.line, err)
		}
		if l, ok := seen[d.NetNS]; ok {
			return nil, fmt.Errorf("workloads file %s, line %d: namespace %q was described at line %d already: leave one of the two", file, e.line, d.NetNS, l)
		}
		seen[d.NetNS] = e.line
		out = append(out, d)
	}
	return out, nil
}

// checkFields rejects unknown fields, which a custom unmarshaller would accept.
func checkFields(file string, data []byte) error {
	var strict struct {
		Workloads []Description `yaml:"workloads"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&strict); err != nil && !errors.Is(err, io.EOF) {
		return yamlError(file, err)
	}
	return nil
}

func checkEntry(d *Description) error {
	switch {
	case d.NetNS == "":
		return errors.New("this entry names no namespace: give it a name or a netns")
	case strings.ContainsRune(d.NetNS, '/'):
		return fmt.Errorf("netns %q is a path: give the name below %s", d.NetNS, NetNSDir)
	case isGlob(d.NetNS) && d.Name != "":
		return fmt.Errorf("netns %q is a pattern, so name cannot be given: leave name out", d.NetNS)
	}
	if _, err := path.Match(d.NetNS, ""); err != nil {
		return fmt.Errorf("netns %q is not a pattern: a [ needs its ]", d.NetNS)
	}
	for what, v := range map[string]string{"name": d.Name, "namespace": d.Namespace, "service": d.Service} {
		if v != "" && !plainName.MatchString(v) {
			return fmt.Errorf("%s %q: use letters, digits, '.', '_' and '-', at most 63", what, v)
		}
	}
	return nil
}

var (
	plainName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	yamlLine     = regexp.MustCompile(`line (\d+): (.*)`)
	unknownField = regexp.MustCompile(`field (\S+) not found in type`)
	wrongType    = regexp.MustCompile("cannot unmarshal !!(\\w+) (`.*` )?into (.*)")
)

// yamlError returns the library's error as a sentence with file and line.
func yamlError(file string, err error) error {
	text := err.Error()
	var te *yaml.TypeError
	if errors.As(err, &te) && len(te.Errors) > 0 {
		text = te.Errors[0]
	}
	text = strings.TrimPrefix(text, "yaml: ")
	where := file
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		where, text = file+", line "+m[1], m[2]
	}
	if m := unknownField.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("there is no field %q: the file is a list `workloads:` of entries with %s", m[1], fileFields)
	} else if m := wrongType.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("a value of type %s does not fit here: the file is a list `workloads:` of entries with %s", m[1], fileFields)
	}
	return fmt.Errorf("workloads file %s: %s", where, text)
}
