// Program notary signs what an OCI registry holds and verifies it, in the format of the Notary Project: `notation verify`
// and the admission controllers that read it take these signatures.
//
//	notary key KEY CERTIFICATE       makes a key and a self-signed certificate, for tests
//	notary chain KEY CERTIFICATE     makes a key and a certificate of an authority, with that of the authority, for tests
//	notary check KEY CERTIFICATE     signs a sample in memory and prints the fingerprint of the signing certificate
//	notary anchor CERTIFICATE        prints the certificate that verifiers trust: the root, or the self-signed one
//	notary policy CERTIFICATE SCOPE… prints the trust policy by which `notation verify` takes the signatures
//	notary sign KEY CERTIFICATE REFERENCE…
//	notary verify CERTIFICATE REFERENCE…
//
// CERTIFICATE is a PEM file: a self-signed certificate, or the signing certificate followed by its chain up to the root.
// The signing certificate is the first, the root the last. A scope is a repository, host/path. A reference has a digest: host/repository@sha256:…. CA_FILE names the CA of the registry, PEM; default: those that the
// system trusts. Logins are those of docker's configuration.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
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
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
		return makeKey(args[1], args[2], false)
	case len(args) == 3 && args[0] == "chain":
		return makeKey(args[1], args[2], true)
	case len(args) == 3 && args[0] == "check":
		return check(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "anchor":
		return printAnchor(args[1])
	case len(args) > 2 && args[0] == "policy":
		return printPolicy(args[1], args[2:])
	case len(args) > 3 && args[0] == "sign":
		return each(args[3:], func(reference string) error { return sign(ctx, args[1], args[2], reference) })
	case len(args) > 2 && args[0] == "verify":
		return each(args[2:], func(reference string) error { return verify(ctx, args[1], reference) })
	}
	return errors.New("usage: key|chain|check KEY CERTIFICATE | anchor CERTIFICATE | policy CERTIFICATE SCOPE… | sign KEY CERTIFICATE REFERENCE… | verify CERTIFICATE REFERENCE…")
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

// check signs a sample in memory, which fails for a key that isn't the certificate's and for a chain that no verifier takes.
func check(ctx context.Context, key, certificate string) error {
	with, err := signer.NewGenericSignerFromFiles(key, certificate)
	if err != nil {
		return err
	}
	sample := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("sample"), Size: 6}
	if _, _, err := with.Sign(ctx, sample, notation.SignerSignOptions{SignatureMediaType: cose.MediaTypeEnvelope}); err != nil {
		return err
	}
	chain, err := corex509.ReadCertificateFile(certificate)
	if err != nil {
		return err
	}
	if _, err := trustPolicy(chain, []string{"*"}); err != nil {
		return err
	}
	fmt.Printf("%x\n", sha256.Sum256(chain[0].Raw))
	return nil
}

func printAnchor(certificate string) error {
	chain, err := readChain(certificate)
	if err != nil {
		return err
	}
	return pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})
}

func printPolicy(certificate string, scopes []string) error {
	chain, err := readChain(certificate)
	if err != nil {
		return err
	}
	policy, err := trustPolicy(chain, scopes)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(policy, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return nil
}

// readChain returns the certificates of a file, of which there is at least one.
func readChain(certificate string) ([]*x509.Certificate, error) {
	chain, err := corex509.ReadCertificateFile(certificate)
	if err == nil && len(chain) == 0 {
		err = fmt.Errorf("%s: no certificate in PEM", certificate)
	}
	return chain, err
}

// trustPolicy takes the signatures of the chain's first certificate for these repositories. An authority issues to others
// too, so its certificate is trusted for this one subject.
func trustPolicy(chain []*x509.Certificate, scopes []string) (*trustpolicy.Document, error) {
	identity := "*"
	if leaf := chain[0].Subject; len(chain) > 1 {
		if len(leaf.Country) == 0 || len(leaf.Province) == 0 || len(leaf.Organization) == 0 {
			return nil, fmt.Errorf("the subject %q lacks C, ST or O, which the Notary Project requires of a trusted identity", leaf)
		}
		identity = "x509.subject: " + leaf.String()
	}
	policy := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name:                  "video-token-operator",
		RegistryScopes:        scopes,
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name},
		TrustStores:           []string{"ca:video-token-operator"},
		TrustedIdentities:     []string{identity},
	}}}
	return policy, policy.Validate()
}

func verify(ctx context.Context, certificate, reference string) error {
	chain, err := readChain(certificate)
	if err != nil {
		return err
	}
	policy, err := trustPolicy(chain, []string{"*"})
	if err != nil {
		return err
	}
	by, err := verifier.New(policy, anchor(chain[len(chain)-1:]), nil)
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

// makeKey writes a new key and its certificate, self-signed or, issued, by an authority whose certificate follows it.
func makeKey(keyFile, certificateFile string, issued bool) error {
	leaf, err := template("release test")
	if err != nil {
		return err
	}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	issuer, issuerKey := leaf, key
	if issued {
		if issuer, err = template("release test root"); err != nil {
			return err
		}
		issuer.KeyUsage, issuer.IsCA = x509.KeyUsageCertSign, true
		if issuerKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	var chain []byte
	add := func(subject *x509.Certificate, public any) error {
		certificate, err := x509.CreateCertificate(rand.Reader, subject, issuer, public, issuerKey)
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})...)
		return err
	}
	if err := add(leaf, key.Public()); err != nil {
		return err
	}
	if issued {
		if err := add(issuer, issuerKey.Public()); err != nil {
			return err
		}
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certificateFile, chain, 0o644)
}

// template returns what the certificates have in common.
func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"Test"}, CommonName: name},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().AddDate(0, 1, 0),
		BasicConstraintsValid: true,
	}, err
}
