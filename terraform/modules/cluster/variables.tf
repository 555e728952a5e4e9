variable "name" {
  description = "Name of the cluster."
  type        = string
}

variable "kubernetes_version" {
  description = "Minor version of Kubernetes; the chart needs 1.33 or later."
  type        = string
  default     = "1.33"

  validation {
    condition     = can(regex("^1\\.[0-9]+$", var.kubernetes_version)) && try(tonumber(split(".", var.kubernetes_version)[1]) >= 33, false)
    error_message = "kubernetes_version must be 1.33 or later, without a patch version."
  }
}

variable "subnet_ids" {
  description = "Private subnets, in two zones or more."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids must name at least two subnets."
  }
}

variable "api_cidrs" {
  description = "Networks that may reach the Kubernetes API from outside; empty: only the VPC."
  type        = list(string)
  default     = []

  validation {
    condition     = !contains(var.api_cidrs, "0.0.0.0/0")
    error_message = "api_cidrs must not open the Kubernetes API to everybody."
  }
}

variable "apps_nodes" {
  description = "Nodes of the apps: instance types, how many (min and max), disk in GiB."
  type = object({
    instance_types = optional(list(string), ["m7i.xlarge"])
    size_min       = optional(number, 3)
    size_max       = optional(number, 6)
    disk_gib       = optional(number, 50)
  })
  default = {}
}

variable "gpu_nodes" {
  description = "Nodes with GPUs for the engines, in the same form; null: none, engines run on the apps' nodes."
  type = object({
    instance_types = list(string)
    size_min       = optional(number, 1)
    size_max       = optional(number, 4)
    disk_gib       = optional(number, 200)
  })
  default = null
}

variable "log_retention_days" {
  description = "Days the control plane's logs are kept."
  type        = number
  default     = 365
}

variable "partition" {
  description = "AWS partition, for example aws or aws-cn."
  type        = string
  default     = "aws"
}
