package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
)

// namespace is where objects that name none are taken to be.
const namespace = "default"

// decoder refuses fields that there are not, and ones that stand there twice.
var decoder = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()

// kubernetes reads manifests as the API server does: the fields of each type, its defaults, its validation; and what
// the standard "restricted" asks of pods.
func kubernetes(paths []string) (any, []string) {
	var objects []json.RawMessage
	var problems []string
	for _, path := range paths {
		documents, err := documents(path)
		if err != nil {
			problems = append(problems, err.Error())
		}
		for at, document := range documents {
			object, wrong := understand(document)
			for _, problem := range wrong {
				problems = append(problems, fmt.Sprintf("%s: document %d: %s", path, at+1, problem))
			}
			objects = append(objects, object)
		}
	}
	return objects, problems
}

func documents(path string) ([][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found [][]byte
	reader := yaml.NewDocumentDecoder(file)
	defer reader.Close()
	for {
		// The decoder gives one document a read, as far as there is room.
		buffer := make([]byte, 1<<20)
		count, err := reader.Read(buffer)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		if text := buffer[:count]; len(bytes.TrimSpace(text)) > 0 {
			found = append(found, text)
		}
	}
}

// understand gives an object with its defaults, or what is wrong with it.
func understand(document []byte) (json.RawMessage, []string) {
	object, kind, err := decoder.Decode(document, nil, nil)
	if err != nil {
		return nil, []string{err.Error()}
	}
	legacyscheme.Scheme.Default(object)
	text, err := json.Marshal(object)
	if err != nil {
		return nil, []string{err.Error()}
	}
	internal, err := legacyscheme.Scheme.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return nil, []string{err.Error()}
	}
	var problems []string
	errs, known := validate(internal)
	if !known {
		problems = append(problems, "nobody here validates "+kind.Kind)
	}
	for _, err := range errs {
		problems = append(problems, err.Error())
	}
	if set, ok := object.(*appsv1.StatefulSet); ok {
		problems = append(problems, unrestricted(set)...)
	}
	return text, problems
}

func validate(object runtime.Object) (field.ErrorList, bool) {
	switch object := object.(type) {
	case *apps.StatefulSet:
		object.Namespace = namespace
		options := podutil.GetValidationOptionsFromPodTemplate(&object.Spec.Template, nil)
		return append(appsvalidation.ValidateStatefulSet(object, options), validatePods(object, options)...), true
	case *core.Service:
		object.Namespace = namespace
		// As the registry of services does before it validates one.
		if object.Spec.ClusterIP == core.ClusterIPNone && len(object.Spec.ClusterIPs) == 0 {
			object.Spec.ClusterIPs = []string{core.ClusterIPNone}
		}
		return corevalidation.ValidateService(object), true
	case *core.ConfigMap:
		object.Namespace = namespace
		return corevalidation.ValidateConfigMap(object), true
	case *networking.NetworkPolicy:
		object.Namespace = namespace
		return networkingvalidation.ValidateNetworkPolicy(object, networkingvalidation.NetworkPolicyValidationOptions{}), true
	case *policy.PodDisruptionBudget:
		object.Namespace = namespace
		return policyvalidation.ValidatePodDisruptionBudget(object, policyvalidation.PodDisruptionBudgetValidationOptions{}), true
	}
	return nil, false
}

// validatePods is what the API server says of a set's pods only when they are made, with volumes for their claims.
func validatePods(set *apps.StatefulSet, options corevalidation.PodValidationOptions) field.ErrorList {
	template := set.Spec.Template.DeepCopy()
	for _, claim := range set.Spec.VolumeClaimTemplates {
		source := core.VolumeSource{
			PersistentVolumeClaim: &core.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name},
		}
		template.Spec.Volumes = append(template.Spec.Volumes, core.Volume{Name: claim.Name, VolumeSource: source})
	}
	return corevalidation.ValidatePodTemplateSpec(template, field.NewPath("spec", "template"), options)
}

// unrestricted says what keeps the pods of a set out of a namespace that enforces the standard "restricted".
func unrestricted(set *appsv1.StatefulSet) []string {
	evaluator, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks())
	if err != nil {
		return []string{err.Error()}
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	template := &set.Spec.Template
	var problems []string
	for _, result := range evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec) {
		if !result.Allowed {
			problems = append(problems, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return problems
}
