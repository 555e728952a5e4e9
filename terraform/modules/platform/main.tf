# KubeRay and the platform's chart. Secrets are made beforehand (docs/deployment.md): none goes through here.

resource "helm_release" "kuberay" {
  name             = "kuberay-operator"
  namespace        = "kuberay-system"
  create_namespace = true
  chart            = var.kuberay_chart
  version          = var.kuberay_version
  atomic           = true
  wait             = true
}

resource "helm_release" "finpool" {
  name      = "finpool"
  namespace = var.namespace
  chart     = var.chart
  atomic    = true
  wait      = true
  # Migrations and the first load of a model's weights may take their time.
  timeout = 1800

  # The caller's own values win over the values that this module derives.
  values = concat([yamlencode(local.values)], var.extra_values)

  depends_on = [helm_release.kuberay]
}
