variable "region" {
  description = "AWS region."
  type        = string
}

variable "cluster_name" {
  description = "Output `cluster_name` of the first layer."
  type        = string
}

variable "database_cidrs" {
  description = "Output `database_cidrs` of the first layer."
  type        = list(string)
}

variable "gpu_engines" {
  description = "Output `gpu_engines` of the first layer."
  type        = bool
  default     = false
}

variable "gpu_engine_replicas" {
  description = "Pods that run vLLM on those nodes, with one GPU each."
  type        = number
  default     = 1
}

variable "kuberay_chart" {
  description = "Chart of the KubeRay operator, in your own registry or unpacked beside this folder."
  type        = string
}

variable "kuberay_version" {
  description = "Version of that chart."
  type        = string
  default     = "1.7.0"
}

variable "image_registry" {
  description = "Registry that holds the images."
  type        = string
}

variable "app_image_digest" {
  description = "Digest of the app image."
  type        = string
}

variable "engine_image_digest" {
  description = "Digest of the engine image."
  type        = string
}

variable "vllm_image_digest" {
  description = "Digest of the engine-vllm image; needed with gpu_engines."
  type        = string
  default     = null
}

variable "values_files" {
  description = "Files with further values of the chart: ingress, allowFrom, sources of weights."
  type        = list(string)
  default     = []
}
