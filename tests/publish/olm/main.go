// Program olm holds an OLM bundle's manifests against operator-framework's own validators, those of OperatorHub among
// them: `olm DIRECTORY`. It prints each error and warning; an error ends it with 1.
package main

import (
	"fmt"
	"os"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: olm DIRECTORY")
		os.Exit(2)
	}
	bundle, err := manifests.GetBundleFromDir(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "olm:", err)
		os.Exit(1)
	}
	failed := false
	for _, result := range validation.AllValidators.Validate(bundle.ObjectsToValidate()...) {
		for _, problem := range result.Errors {
			fmt.Println(problem.Error())
			failed = true
		}
		for _, problem := range result.Warnings {
			fmt.Println(problem.Error())
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Printf("%s: valid\n", bundle.CSV.GetName())
}
