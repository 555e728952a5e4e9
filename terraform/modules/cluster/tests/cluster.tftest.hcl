mock_provider "aws" {}

variables {
  name       = "pool"
  subnet_ids = ["subnet-a", "subnet-b"]
}

run "the_api_is_private_and_secrets_are_encrypted" {
  command = plan

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "the Kubernetes API must be reachable from inside only"
  }

  assert {
    condition     = contains(aws_eks_cluster.this.encryption_config[0].resources, "secrets")
    error_message = "secrets must be encrypted with the cluster's own key"
  }

  assert {
    condition     = contains(aws_eks_cluster.this.enabled_cluster_log_types, "audit")
    error_message = "the audit log must be on"
  }
}

run "network_policies_are_enforced" {
  command = plan

  assert {
    condition     = jsondecode(aws_eks_addon.network.configuration_values).enableNetworkPolicy == "true"
    error_message = "the network plugin must enforce NetworkPolicy"
  }
}

run "nodes_keep_their_credentials_and_disks_to_themselves" {
  command = plan

  assert {
    condition = alltrue([
      for template in aws_launch_template.nodes :
      template.metadata_options[0].http_tokens == "required" && template.metadata_options[0].http_put_response_hop_limit == 1
    ])
    error_message = "pods must not reach the node's credentials"
  }

  assert {
    condition     = alltrue([for template in aws_launch_template.nodes : template.block_device_mappings[0].ebs[0].encrypted == "true"])
    error_message = "node disks must be encrypted"
  }
}

run "there_are_no_gpu_nodes_unless_asked_for" {
  command = plan

  assert {
    condition     = length(aws_eks_node_group.gpu) == 0 && output.has_gpu_nodes == false
    error_message = "GPU nodes must be asked for"
  }
}

run "only_engines_run_on_gpu_nodes" {
  command = plan

  variables {
    gpu_nodes = { instance_types = ["g6.xlarge"] }
  }

  assert {
    condition     = one(aws_eks_node_group.gpu[0].taint).key == "nvidia.com/gpu" && one(aws_eks_node_group.gpu[0].taint).effect == "NO_SCHEDULE"
    error_message = "GPU nodes must be tainted"
  }
}

run "an_api_open_to_everybody_is_refused" {
  command = plan

  variables {
    api_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.api_cidrs]
}

run "a_kubernetes_too_old_for_the_chart_is_refused" {
  command = plan

  variables {
    kubernetes_version = "1.31"
  }

  expect_failures = [var.kubernetes_version]
}
