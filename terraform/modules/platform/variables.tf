variable "namespace" {
  description = "Namespace of the platform; it exists already, because the secrets are in it."
  type        = string
  default     = "finpool"
}

variable "chart" {
  description = "The platform's chart: a folder, an archive or an oci:// address."
  type        = string
}

variable "kuberay_chart" {
  description = "Chart of the KubeRay operator: a folder, an archive or an oci:// address in your own registry."
  type        = string
}

variable "kuberay_version" {
  description = "Version of that chart; null where the address says it."
  type        = string
  default     = null
}

variable "image_registry" {
  description = "Registry that holds the images."
  type        = string
}

variable "app_image_digest" {
  description = "Digest of the app image."
  type        = string

  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", var.app_image_digest))
    error_message = "app_image_digest must be sha256: and 64 hex digits."
  }
}

variable "engine_image_digest" {
  description = "Digest of the engine image."
  type        = string

  validation {
    condition     = can(regex("^sha256:[0-9a-f]{64}$", var.engine_image_digest))
    error_message = "engine_image_digest must be sha256: and 64 hex digits."
  }
}

variable "vllm_image_digest" {
  description = "Digest of the engine-vllm image; needed with gpu_engines, null without."
  type        = string
  default     = null

  validation {
    condition     = var.gpu_engines ? can(regex("^sha256:[0-9a-f]{64}$", var.vllm_image_digest)) : true
    error_message = "With gpu_engines, vllm_image_digest must be sha256: and 64 hex digits."
  }
}

variable "database_secret_name" {
  description = "Kubernetes secret with one database URL for each role."
  type        = string
  default     = "finpool-databases"
}

variable "file_secret_name" {
  description = "Kubernetes secret with the key pepper, the engine token and the keys of remote engines."
  type        = string
  default     = "finpool-files"
}

variable "database_cidrs" {
  description = "Networks the database is in."
  type        = list(string)
}

variable "database_port" {
  description = "Port of the database."
  type        = number
  default     = 5432
}

variable "models" {
  description = "Ids of the models to serve."
  type        = list(string)
  default     = ["smollm2-135m-instruct", "multilingual-e5-small", "multilingual-e5-small-rerank"]
}

variable "engine_replicas" {
  description = "Pods that run engines on processors; 0 only with gpu_engines."
  type        = number
  default     = 1
}

variable "gpu_engines" {
  description = "Run vLLM on the nodes with GPUs."
  type        = bool
  default     = false
}

variable "gpu_engine_replicas" {
  description = "Pods that run vLLM, with one GPU each; more of a kind, or other kinds, go into extra_values."
  type        = number
  default     = 1
}

variable "extra_values" {
  description = "Further values of the chart, each a YAML text: ingress, allowFrom, sources of weights."
  type        = list(string)
  default     = []
}
