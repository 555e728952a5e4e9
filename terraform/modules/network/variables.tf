variable "name" {
  description = "Name of the installation; prefix of everything in it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name must be 2 to 31 lower-case letters, digits or hyphens and start with a letter."
  }
}

variable "cidr" {
  description = "Network of the VPC: a /16 to /20, of which each subnet takes a sixteenth."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "cidr must be an IPv4 network between /16 and /20."
  }
}

variable "zones" {
  description = "Availability zones; two or more, because the database and the doors must outlive the loss of one."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 8 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones must be 2 to 8 different availability zones."
  }
}

variable "nat_per_zone" {
  description = "A NAT gateway in every zone (dearer) instead of one for all."
  type        = bool
  default     = true
}
