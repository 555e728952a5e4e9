# KubeRay and the platform's chart. Secrets are made beforehand (docs/deployment.md): none goes through here.

locals {
  # A GPU is asked for only where there are nodes that have one.
  engine_values = var.gpu_engines ? {
    workers = {
      replicas     = var.engine_replicas
      nodeSelector = { "finpool.dev/nodes" = "gpu" }
      tolerations  = [{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }]
      resources = {
        requests = { cpu = "4", memory = "24Gi", "nvidia.com/gpu" = "1" }
        limits   = { memory = "24Gi", "nvidia.com/gpu" = "1" }
      }
    }
  } : { workers = { replicas = var.engine_replicas } }

  values = {
    global         = { imageRegistry = var.image_registry }
    images         = { app = { digest = var.app_image_digest }, engine = { digest = var.engine_image_digest } }
    databaseSecret = { existingSecret = var.database_secret_name }
    fileSecret     = { existingSecret = var.file_secret_name }
    networkPolicy  = { database = { cidrs = var.database_cidrs, port = var.database_port } }
    models         = merge(local.engine_values, { serve = var.models })
  }
}

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

  # What the caller sets for its own bank wins over what this module derives.
  values = concat([yamlencode(local.values)], var.extra_values)

  depends_on = [helm_release.kuberay]
}
