output "namespace" {
  description = "Namespace of the platform."
  value       = helm_release.finpool.namespace
}

output "chart_version" {
  description = "Version of the chart that is installed."
  value       = helm_release.finpool.metadata.version
}
