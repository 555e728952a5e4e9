output "cluster_name" {
  description = "Name of the cluster."
  value       = module.cluster.name
}

output "database_address" {
  description = "Host name of the database."
  value       = module.database.address
}

output "database_owner_secret_arn" {
  description = "Secrets Manager entry with the database owner's password."
  value       = module.database.owner_secret_arn
}

output "database_cidrs" {
  description = "Networks the database is in."
  value       = module.network.private_subnet_cidrs
}

output "gpu_engines" {
  description = "Whether engines can have GPUs."
  value       = module.cluster.has_gpu_nodes
}
