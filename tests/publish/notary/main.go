// Program notary signs what an OCI registry holds and verifies it, in the format of the Notary Project: `notation verify`
// and the admission controllers that read it take these signatures.
//
//	notary key KEY CERTIFICATE       makes a key and a self-signed certificate, for tests
//	notary sign KEY CERTIFICATE REFERENCE…
//	notary verify CERTIFICATE REFERENCE…
//
// A reference has a digest: host/repository@sha256:…. CA_FILE names the CA of the registry, PEM; default: those that the
// system trusts. Logins are those of docker's configuration.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	corex509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/notation-go"
	notationregistry "github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "notary:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "key":
		return makeKey(args[1], args[2])
	case len(args) > 3 && args[0] == "sign":
		return each(args[3:], func(reference string) error { return sign(ctx, args[1], args[2], reference) })
	case len(args) > 2 && args[0] == "verify":
		return each(args[2:], func(reference string) error { return verify(ctx, args[1], reference) })
	}
	return errors.New("usage: key KEY CERTIFICATE | sign KEY CERTIFICATE REFERENCE… | verify CERTIFICATE REFERENCE…")
}

func each(references []string, do func(string) error) error {
	for _, reference := range references {
		if !strings.Contains(reference, "@sha256:") {
			return fmt.Errorf("%s: name a digest, since a tag can move", reference)
		}
		if err := do(reference); err != nil {
			return fmt.Errorf("%s: %w", reference, err)
		}
	}
	return nil
}

// repository returns the repository of a reference.
func repository(reference string) (notationregistry.Repository, error) {
	target, err := remote.NewRepository(reference)
	if err != nil {
		return nil, err
	}
	// where there is no API for referrers, an outdated list of them stays: many registries let nobody delete
	target.SkipReferrersGC = true
	client := &auth.Client{Cache: auth.NewCache()}
	if logins, err := credentials.NewStoreFromDocker(credentials.StoreOptions{}); err == nil {
		client.Credential = credentials.Credential(logins)
	}
	if file := os.Getenv("CA_FILE"); file != "" {
		if client.Client, err = trusting(file); err != nil {
			return nil, err
		}
	}
	target.Client = client
	return notationregistry.NewRepository(target), nil
}

// trusting returns a client that trusts the CAs of this file and no others.
func trusting(file string) (*http.Client, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in PEM", file)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}, nil
}

func sign(ctx context.Context, key, certificate, reference string) error {
	with, err := signer.NewGenericSignerFromFiles(key, certificate)
	if err != nil {
		return err
	}
	in, err := repository(reference)
	if err != nil {
		return err
	}
	options := notation.SignOptions{
		SignerSignOptions: notation.SignerSignOptions{SignatureMediaType: cose.MediaTypeEnvelope},
		ArtifactReference: reference,
	}
	if _, err := notation.Sign(ctx, with, in, options); err != nil {
		return err
	}
	fmt.Println("signed:  ", reference)
	return nil
}

// anchor is a trust store with the certificates of one file.
type anchor []*x509.Certificate

func (a anchor) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return a, nil
}

func verify(ctx context.Context, certificate, reference string) error {
	trusted, err := corex509.ReadCertificateFile(certificate)
	if err != nil {
		return err
	}
	policy := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name:                  "release",
		RegistryScopes:        []string{"*"},
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name},
		TrustStores:           []string{"ca:release"},
		TrustedIdentities:     []string{"*"},
	}}}
	by, err := verifier.New(policy, anchor(trusted), nil)
	if err != nil {
		return err
	}
	in, err := repository(reference)
	if err != nil {
		return err
	}
	options := notation.VerifyOptions{ArtifactReference: reference, MaxSignatureAttempts: 10}
	if _, _, err := notation.Verify(ctx, by, in, options); err != nil {
		return err
	}
	fmt.Println("verified:", reference)
	return nil
}

func makeKey(keyFile, certificateFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"Test"}, CommonName: "release test"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().AddDate(0, 1, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := write(keyFile, "PRIVATE KEY", encoded, 0o600); err != nil {
		return err
	}
	return write(certificateFile, "CERTIFICATE", certificate, 0o644)
}

func write(file, kind string, content []byte, mode os.FileMode) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), mode)
}
