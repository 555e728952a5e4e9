# The second layer: KubeRay and FinPool, on the cluster that the first one made.

module "platform" {
  source = "../../../modules/platform"

  chart               = "${path.module}/../../../../helm/finpool"
  kuberay_chart       = var.kuberay_chart
  kuberay_version     = var.kuberay_version
  image_registry      = var.image_registry
  app_image_digest    = var.app_image_digest
  engine_image_digest = var.engine_image_digest
  vllm_image_digest   = var.vllm_image_digest
  database_cidrs      = var.database_cidrs
  gpu_engines         = var.gpu_engines
  gpu_engine_replicas = var.gpu_engine_replicas
  extra_values        = [for file in var.values_files : file(file)]
}
