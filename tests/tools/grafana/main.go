// Reads a dashboard's JSON on stdin, decodes it strictly into Grafana's own types, each panel's options and queries into
// those of its plugin, and prints how many panels there were.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
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
	plugins.RegisterDefaultPlugins()
	raw, err := io.ReadAll(in)
	if err != nil {
		return 0, err
	}
	var read dashboard.Dashboard
	if err := found(read.UnmarshalJSONStrict(raw)); err != nil {
		return 0, err
	}
	return len(read.Panels), found(read.Validate())
}

// found tells an error from an empty list of errors, which the types return where nothing is wrong.
func found(err error) error {
	var list cog.BuildErrors
	if errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}
