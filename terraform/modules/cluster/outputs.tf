output "name" {
  description = "Name of the cluster."
  value       = aws_eks_cluster.this.name
}

output "security_group_id" {
  description = "Security group of the cluster's nodes; the database lets it in."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "has_gpu_nodes" {
  description = "Whether there are nodes with GPUs."
  value       = var.gpu_nodes != null
}
