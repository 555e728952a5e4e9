variable "name" {
  description = "Name of the database instance."
  type        = string
}

variable "vpc_id" {
  description = "VPC the database lies in."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets, in two zones or more."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids must name at least two subnets."
  }
}

variable "client_security_group_id" {
  description = "Security group of those who may connect: the cluster's nodes."
  type        = string
}

variable "instance_class" {
  description = "Class of the instance and of its standby."
  type        = string
  default     = "db.m7g.large"
}

variable "storage_gib" {
  description = "Disk in GiB at the start."
  type        = number
  default     = 100
}

variable "storage_gib_max" {
  description = "Disk in GiB up to which it grows by itself."
  type        = number
  default     = 1000
}

variable "backup_days" {
  description = "Days that backups are kept; within them any second can be restored."
  type        = number
  default     = 35

  validation {
    condition     = var.backup_days >= 7 && var.backup_days <= 35
    error_message = "backup_days must be between 7 and 35."
  }
}
