variable "name" {
  description = "Name of the installation."
  type        = string
  default     = "finpool"
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "zones" {
  description = "Availability zones of that region, two or more."
  type        = list(string)
}

variable "cidr" {
  description = "Network of the VPC."
  type        = string
  default     = "10.0.0.0/16"
}

variable "api_cidrs" {
  description = "Networks of the operators that may reach the Kubernetes API; empty: only from inside the VPC."
  type        = list(string)
  default     = []
}

variable "gpu_nodes" {
  description = "Nodes with GPUs (see modules/cluster); null: none."
  type = object({
    instance_types = list(string)
    size_min       = optional(number, 1)
    size_max       = optional(number, 4)
    disk_gib       = optional(number, 200)
  })
  default = null
}
