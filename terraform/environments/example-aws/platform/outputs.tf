output "namespace" {
  description = "Namespace of the platform."
  value       = module.platform.namespace
}
