# What the chart is told, apart from who installs it: the tests render the chart with exactly this.

locals {
  # A GPU is asked for only where there are nodes that have one.
  gpu_workers = {
    nodeSelector = { "finpool.dev/nodes" = "gpu" }
    tolerations  = [{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }]
    resources = {
      requests = { cpu = "4", memory = "24Gi", "nvidia.com/gpu" = "1" }
      limits   = { memory = "24Gi", "nvidia.com/gpu" = "1" }
    }
  }

  values = {
    global         = { imageRegistry = var.image_registry }
    images         = { app = { digest = var.app_image_digest }, engine = { digest = var.engine_image_digest } }
    databaseSecret = { existingSecret = var.database_secret_name }
    fileSecret     = { existingSecret = var.file_secret_name }
    networkPolicy  = { database = { cidrs = var.database_cidrs, port = var.database_port } }
    models = {
      serve   = var.models
      workers = merge({ replicas = var.engine_replicas }, var.gpu_engines ? local.gpu_workers : null)
    }
  }
}
