// Reads Kubernetes manifests on stdin, decodes those of monitoring.coreos.com strictly into the Prometheus Operator's own
// types, and prints how many there were. The Prometheus Operator's CRDs aren't served by the tests' API server.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

func main() {
	count, err := check(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(count)
}

func check(in io.Reader) (int, error) {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(in))
	for count := 0; ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, err
		}
		var meta struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(document, &meta); err != nil {
			return count, err
		}
		if meta.APIVersion != "monitoring.coreos.com/v1" {
			continue
		}
		into, known := map[string]any{
			"ServiceMonitor": &monitoring.ServiceMonitor{},
			"PodMonitor":     &monitoring.PodMonitor{},
			"PrometheusRule": &monitoring.PrometheusRule{},
		}[meta.Kind]
		if !known {
			return count, fmt.Errorf("%s: no kind of monitoring.coreos.com/v1 that is known here", meta.Kind)
		}
		if err := yaml.UnmarshalStrict(document, into); err != nil {
			return count, fmt.Errorf("%s: %w", meta.Kind, err)
		}
		count++
	}
}
