// Program slsa holds an in-toto statement with a provenance against the types of in-toto and SLSA: it reads standard
// input, refuses unknown fields and prints each subject with its digest.
package main

import (
	"fmt"
	"io"
	"os"

	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	statement "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const predicateType = "https://slsa.dev/provenance/v1"

func main() {
	if err := check(); err != nil {
		fmt.Fprintln(os.Stderr, "slsa:", err)
		os.Exit(1)
	}
}

func check() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var whole statement.Statement
	if err := protojson.Unmarshal(text, &whole); err != nil {
		return err
	}
	if err := whole.Validate(); err != nil {
		return err
	}
	if whole.GetPredicateType() != predicateType {
		return fmt.Errorf("predicateType is %q, not %q", whole.GetPredicateType(), predicateType)
	}
	text, err = protojson.Marshal(whole.GetPredicate())
	if err != nil {
		return err
	}
	var predicate provenance.Provenance
	if err := protojson.Unmarshal(text, &predicate); err != nil {
		return err
	}
	if err := predicate.Validate(); err != nil {
		return err
	}
	for _, subject := range whole.GetSubject() {
		fmt.Printf("%s sha256:%s\n", subject.GetName(), subject.GetDigest()["sha256"])
	}
	return nil
}
