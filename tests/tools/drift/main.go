// Reads manifests as a JSON list on stdin and prints, as a JSON list, how GitOps tools find each of them on the API
// server of the kubeconfig (-kubeconfig): whether it has drifted, by Argo CD's client-side diff, by its structured merge
// diff (ServerSideApply=true), by its server-side diff (ServerSideDiff=true), and by the diff of Flux.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The field managers of the two tools.
const (
	argo = "argocd-controller"
	flux = "kustomize-controller"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig")
	flag.Parse()
	if err := run(*kubeconfig); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = -1, -1
	var manifests []map[string]any
	if err := json.NewDecoder(os.Stdin).Decode(&manifests); err != nil {
		return err
	}
	cluster, err := connect(config)
	if err != nil {
		return err
	}
	found := []map[string]any{}
	for _, manifest := range manifests {
		text, err := json.Marshal(manifest)
		if err != nil {
			return err
		}
		wanted := &unstructured.Unstructured{}
		if err := wanted.UnmarshalJSON(text); err != nil {
			return err
		}
		drift, err := cluster.drift(wanted)
		if err != nil {
			return fmt.Errorf("%s %s: %w", wanted.GetKind(), wanted.GetName(), err)
		}
		drift["kind"], drift["name"] = wanted.GetKind(), wanted.GetName()
		found = append(found, drift)
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

type cluster struct {
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
	parser  *managedfields.GvkParser
	flux    *ssa.ResourceManager
}

func connect(config *rest.Config) (*cluster, error) {
	_, parser, err := (&kube.KubectlCmd{}).LoadOpenAPISchema(config)
	if err != nil {
		return nil, err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	served, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(served)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	any, err := client.New(config, client.Options{Mapper: mapper})
	if err != nil {
		return nil, err
	}
	manager := ssa.NewResourceManager(any, nil, ssa.Owner{Field: flux, Group: "kustomize.toolkit.fluxcd.io"})
	return &cluster{objects, mapper, parser, manager}, nil
}

func (c *cluster) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

// Run is Argo CD's server-side apply as a dry run, which forces conflicts as its sync does.
func (c *cluster) Run(ctx context.Context, object *unstructured.Unstructured, manager string) (string, error) {
	api, err := c.resource(object)
	if err != nil {
		return "", err
	}
	options := metav1.ApplyOptions{FieldManager: manager, Force: true, DryRun: []string{metav1.DryRunAll}}
	applied, err := api.Apply(ctx, object.GetName(), object, options)
	if err != nil {
		return "", err
	}
	text, err := applied.MarshalJSON()
	return string(text), err
}

// drift returns, by the name of each diff, null or what the live object and the predicted one are.
func (c *cluster) drift(wanted *unstructured.Unstructured) (map[string]any, error) {
	ctx := context.Background()
	api, err := c.resource(wanted)
	if err != nil {
		return nil, err
	}
	live, err := api.Get(ctx, wanted.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	told := map[string]any{}
	for name, options := range map[string][]diff.Option{
		"client":     {},
		"structured": {diff.WithStructuredMergeDiff(true), diff.WithGVKParser(c.parser), diff.WithManager(argo)},
		"server": {
			diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(c), diff.WithGVKParser(c.parser), diff.WithManager(argo),
		},
	} {
		found, err := diff.Diff(wanted.DeepCopy(), live.DeepCopy(), options...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		told[name] = nil
		if found.Modified {
			told[name] = map[string]any{
				"live": json.RawMessage(found.NormalizedLive), "predicted": json.RawMessage(found.PredictedLive),
			}
		}
	}
	change, existing, dryRun, err := c.flux.Diff(ctx, wanted.DeepCopy(), ssa.DefaultDiffOptions())
	if err != nil {
		return nil, fmt.Errorf("flux: %w", err)
	}
	told["flux"] = nil
	if change.Action != ssa.UnchangedAction {
		told["flux"] = map[string]any{"action": change.Action, "live": existing, "predicted": dryRun}
	}
	return told, nil
}
