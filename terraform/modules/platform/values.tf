# The values of the chart, apart from its installer: the tests render the chart with exactly these.

locals {
  # A GPU is asked for only where there are nodes that have one, and only by vLLM: llama.cpp computes on processors.
  gpu_group = {
    name         = "gpu"
    replicas     = var.gpu_engine_replicas
    accelerators = 1
    nodeSelector = { "finpool.dev/nodes" = "gpu" }
    tolerations  = [{ key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" }]
    resources    = { requests = { cpu = "4", memory = "24Gi" }, limits = { memory = "24Gi" } }
  }

  values = {
    global = { imageRegistry = var.image_registry }
    images = merge(
      { app = { digest = var.app_image_digest }, engine = { digest = var.engine_image_digest } },
      var.gpu_engines ? { engineVllm = { digest = var.vllm_image_digest } } : null,
    )
    databaseSecret = { existingSecret = var.database_secret_name }
    fileSecret     = { existingSecret = var.file_secret_name }
    networkPolicy  = { database = { cidrs = var.database_cidrs, port = var.database_port } }
    models = {
      serve             = var.models
      workers           = { replicas = var.engine_replicas }
      acceleratorGroups = var.gpu_engines ? [local.gpu_group] : []
    }
  }
}
